// Package mx tells the MX state of a domain.
package mx
