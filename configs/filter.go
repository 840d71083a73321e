package configs

// Filter is a program that judges mail, spoken to as a milter.
type Filter struct {
	Name string `toml:"name"` // by which listeners refer to it
}

func (k checker) filters() {}
