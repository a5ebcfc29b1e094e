"""What a set holds, told before anything is encoded."""
