package configs

import "embed"

// Demo is what `mxbypass demo` runs with: demo/mxbypass.toml, demo/directory.toml and the zones of its DNS server in
// demo/zones. The configuration is made for the folder [DemoDir] and the addresses [DemoListen] and [DemoDNS], which the
// demo replaces by its own.
//
//go:embed demo
var Demo embed.FS

// What demo/mxbypass.toml has in it to be replaced.
const (
	DemoDir    = "/tmp/mxbypass-demo"
	DemoListen = "127.0.0.1:2525"
	DemoDNS    = "127.0.0.1:5353"
)
