// @ts-check
// The scan that the texts beside the picture are about: the live one, a past scan, or an earlier moment.

/** @typedef {{
 *   scanId: string | null, isPast: boolean, isRunning: boolean, result: string | null,
 *   received: number, stitched: number | null, pending: number, expected: number, rate: number,
 *   verdict: Wire.VerdictFields | null, hasEnded: boolean,
 *   rfactors: Record<string, number | null>, correlation: number | null, positionErrorPx: number | null, frc: Wire.FrcFields | null, assessment: Wire.AssessmentFields | null,
 * }} Shown */

/**
 * @param {import("./session.js").Session} session
 * @param {import("./past.js").Past} past
 * @returns {Shown} */
export function shownScan(session, past) {
  const record = past.record;
  if (record !== null) return atMoment(ofRecord(record), past);
  return atMoment(ofSession(session), past);
}

/** @param {import("./session.js").Session} session @returns {Shown} */
function ofSession(session) {
  const { status } = session;
  const isOurs = !status?.scan_id || status.scan_id === session.scanId;
  const own = isOurs ? status : null;
  const hasEnded = session.scanState === "ended";
  /** @param {Wire.PictureHeader["layer"]} layer */
  const rfactorOf = (layer) => own?.rfactor?.[layer] ?? session.pictures[layer]?.header?.rfactor ?? null;
  return {
    scanId: session.scanId,
    isPast: false,
    isRunning: session.isRunning,
    result: hasEnded ? (session.result ?? null) : null,
    received: own?.frames_received ?? 0,
    stitched: own?.frames_stitched ?? null,
    pending: own?.frames_pending ?? 0,
    expected: own?.expected_frames ?? 0,
    rate: own?.receive_rate_hz ?? 0,
    verdict: (hasEnded ? session.verdict : null) ?? own?.verdict ?? null,
    hasEnded,
    rfactors: { refined: rfactorOf("refined"), network: rfactorOf("network") },
    correlation: own?.expected_correlation ?? null,
    positionErrorPx: own?.position_error_px ?? null,
    frc: own?.frc ?? null,
    assessment: own?.assessment ?? null,
  };
}

/** @param {Wire.ScanFields} record @returns {Shown} */
function ofRecord(record) {
  const { verdict } = record;
  const isRunning = record.state === "scanning" || record.state === "finishing";
  return {
    scanId: record.id,
    isPast: true,
    isRunning: false,
    result: isRunning ? null : record.state,
    received: verdict?.received ?? 0,
    stitched: verdict?.stitched ?? null,
    pending: verdict?.pending ?? 0,
    expected: verdict?.expected ?? 0,
    rate: 0,
    verdict,
    hasEnded: !isRunning,
    rfactors: { refined: record.rfactor, network: record.rfactor_network },
    correlation: record.expected_correlation,
    positionErrorPx: record.position_error_px,
    frc: record.frc ?? null,
    assessment: record.assessment,
  };
}

/** The same scan at an earlier moment: frames and R are those of its picture.
 * @param {Shown} shown @param {import("./past.js").Past} past @returns {Shown} */
function atMoment(shown, past) {
  const header = past.chosen.moment === null ? null : (past.main?.header ?? null);
  if (header === null) return shown;
  const rfactors = { refined: null, network: null, [header.layer]: header.rfactor };
  return { ...shown, isPast: true, received: header.frames_received, stitched: header.frames_stitched, pending: 0, verdict: null, rfactors, correlation: null, frc: null };
}
