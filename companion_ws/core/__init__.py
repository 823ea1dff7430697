"""What a session is: pure values and rules, no clock, chance or I/O."""
