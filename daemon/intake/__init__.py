"""From message to scan point: receivers, preprocessing, the registry of scans."""
