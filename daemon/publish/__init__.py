"""Publishers: what viewers, browsers and files get."""
