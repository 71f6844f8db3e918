"""Float model + data + target -> every variant that makes sense, measured, and which one to ship, and why."""
