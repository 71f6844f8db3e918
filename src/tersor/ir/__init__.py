"""The network as frozen values. Imports nothing of tersor but its errors."""
