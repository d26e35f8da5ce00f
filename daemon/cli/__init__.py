"""The ptycholive command line."""
