"""Token statistics: vocabularies drawn at random as ZeTT does, and how often they contain each token."""
