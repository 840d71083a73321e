package configs

// Auth is how users log in.
type Auth struct{}

func defaultAuth() Auth { return Auth{} }

func (k checker) auth() {}
