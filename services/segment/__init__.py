"""segment: assign every customer to a segment, recognise segments over time, and publish them."""
