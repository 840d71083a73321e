// Package configs is the configuration file: its keys as Go types, their defaults, strict loading and validation.
//
// Loading never stops at the first mistake. Unknown keys, wrong types and contradictions are collected and reported
// together, each in one line with file, line, column and key; see [Problems]. A file that TOML itself refuses has one
// problem, because nothing behind it can be trusted.
//
// reference.toml, embedded as [Reference], shows every key with its default; a test holds it against the types.
// Only package main imports this package: it turns the configuration into the options of each part.
package configs
