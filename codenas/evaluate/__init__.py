"""What a model can do beyond predicting the next token."""
