"""Answer about two pictures that were compared."""

from ptycholive_client.messages.typed import TypedDict


class ComparisonFields(TypedDict):
    """How far another picture agrees with one, after registration; null where a figure has no meaning."""

    scan_id: str
    """Id of the scan whose picture stays as it is."""
    layer: str
    """Layer of that picture."""
    other_scan_id: str
    """Id of the scan whose picture is laid on it."""
    other_layer: str
    """Layer of the other picture: refined, network or iterative."""
    phase_correlation: float | None
    """Pearson's correlation of the phases where frames cover both well."""
    amplitude_correlation: float | None
    """The same for the amplitudes."""
    ssim: float | None
    """Structural similarity of the phases in the largest common square."""
    difference: float | None
    """Root of sum abs(A - B)^2 over sum abs(B)^2."""
    frc_px: float | None
    """Half a period up to which both agree (half-bit), object pixels."""
    frc_nm: float | None
    """The same in nm; null: the pixel size is unknown, too."""
    shift_px: list[float]
    """Shift [y, x] that was taken off the other picture, pixels."""
    ramp_rad_px: list[float]
    """Phase ramp [y, x] that was taken off it, rad per pixel."""
    pixels: int
    """Pixels compared."""
