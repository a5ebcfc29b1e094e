"""For those who work on emote itself: check a GPU, train the miniature, measure, make the README's images."""
