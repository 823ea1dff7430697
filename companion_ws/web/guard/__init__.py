"""What every request passes: host, origin, token, body, headers, errors."""
