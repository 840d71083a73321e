package configs

// Filter is a program that judges mail, spoken to as a milter.
type Filter struct{}

func (k checker) filters() {}
