package sign

// Keys are the signing keys in a folder. It is safe for concurrent use.
type Keys struct{ dir string }

// OpenKeys gives the keys in a folder, which need not exist.
func OpenKeys(dir string) *Keys { return &Keys{dir: dir} }
