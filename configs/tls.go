package configs

// TLS is how clients' connections are encrypted.
type TLS struct{}

// Certificate is a certificate of ours with its key, in files.
type Certificate struct{}

// ACME is how certificates are had from an authority (RFC 8555).
type ACME struct{}

func defaultTLS() TLS   { return TLS{} }
func defaultACME() ACME { return ACME{} }

func (k checker) tls() {}
