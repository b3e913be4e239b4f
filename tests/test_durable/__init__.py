"""What outlives a process: deliveries, accepted messages, timers, and who sees to them."""
