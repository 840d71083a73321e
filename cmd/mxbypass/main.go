// Command mxbypass delivers mail for user%domain@gateway to the mailbox user@domain that is kept here, whatever the MX
// records of the domain say.
//
// Every subcommand stands in a file of its own, on an [app]. wire.go is the one place where the parts of the relay are
// put together from the configuration.
package main

import "os"

func main() { os.Exit(newApp(os.Stdin, os.Stdout, os.Stderr).run(os.Args[1:])) }
