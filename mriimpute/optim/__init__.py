"""What learners are made of: optimiser with moving average, schedules, settings."""
