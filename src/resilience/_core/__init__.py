"""The machines: pure, so that a test can ask them anything. They are told the time and the roll of the dice."""
