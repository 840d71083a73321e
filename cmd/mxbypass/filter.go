package main

import (
	"errors"
	"log/slog"
	"path/filepath"

	"mxbypass/configs"
	"mxbypass/relay/filter"
)

// openFilters makes the filters of a configuration, by their names. Nothing is connected before there is mail.
func openFilters(c *configs.Config, log *slog.Logger) (map[string]*filter.Filter, error) {
	filters := make(map[string]*filter.Filter, len(c.Filters))
	var errs []error
	for _, f := range c.Filters {
		whenDown := filter.Tempfail
		if f.WhenDown == configs.DownAccept {
			whenDown = filter.Accept
		}
		made, err := filter.New(filter.Options{
			Name:       f.Name,
			Network:    f.Address.Network,
			Address:    f.Address.Address,
			MTA:        "mxbypass " + readVersions().Version,
			WhenDown:   whenDown,
			Connect:    f.ConnectTimeout.Std(),
			Timeout:    f.Timeout.Std(),
			MaxSize:    int64(f.MaxSize),
			MaxMessage: int64(c.Limits.MessageSize),
			Dir:        filepath.Join(c.StateDir, "filters", f.Name),
			Log:        log,
		})
		errs = append(errs, err)
		filters[f.Name] = made
	}
	return filters, errors.Join(errs...)
}
