package main

import (
	"net/http"

	"github.com/sluicehq/sluice/daemon/api"
)

const importPath = "/v1/import"

// exportRoutes are the admin routes of exports and imports of the configuration.
func exportRoutes() map[string]adminFunc {
	return map[string]adminFunc{
		"POST /v1/export":    adminExport,
		"POST " + importPath: adminImport,
	}
}

// adminBodyMost bounds the body of an admin request in bytes: an import brings a
// whole configuration.
func adminBodyMost(r *http.Request) int64 {
	if r.Method == http.MethodPost && r.URL.Path == importPath {
		return api.MaxExport + maxPassphrase*6 + 1024 // characters of a passphrase may be escaped
	}
	return maxAdminBody
}

// adminExport answers with the configuration. It is a POST: it hands out secrets, if
// sealed, and is audited.
func adminExport(d *daemon, r *http.Request) (any, error) {
	var in api.Export
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	d.moving.Lock()
	defer d.moving.Unlock()
	return d.export(r.Context(), in.Passphrase)
}

func adminImport(d *daemon, r *http.Request) (any, error) {
	var in api.Import
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	d.moving.Lock()
	defer d.moving.Unlock()
	return d.importConfig(r.Context(), &in)
}
