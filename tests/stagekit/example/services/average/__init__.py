"""average: publish the mean of each station."""
