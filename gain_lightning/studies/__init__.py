"""What comes after training: read finished runs, compare them, report; from files alone, without torch."""
