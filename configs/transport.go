package configs

// Transport is how sure connections to servers elsewhere have to be.
type Transport struct{}

// Destination is what the operator knows of one domain or server elsewhere.
type Destination struct{}

func defaultTransport() Transport { return Transport{} }

func (k checker) transport() {}
