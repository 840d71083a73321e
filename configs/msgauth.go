package configs

// MsgAuth is how the origin of mail from elsewhere is judged.
type MsgAuth struct{}

func defaultMsgAuth() MsgAuth { return MsgAuth{} }

func (k checker) msgauth() {}
