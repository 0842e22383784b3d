"""What comes after training: read finished runs, compare them, report. Files alone are enough, without torch."""
