package main

import (
	"strconv"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/layout"
)

// parseParity reads a setting: a number, or the word that stands for the default.
// It returns the parity as the engine has it.
func parseParity(text, word string) (int, error) {
	if text == word {
		return engine.ParityDefault, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n > layout.MaxParity || text != strconv.FormatUint(n, 10) {
		return 0, refuse(api.CodeUsage, "parity %.64q is not %s or a number from 0 to %d", text, word, layout.MaxParity)
	}
	if n == 0 {
		return engine.ParityNone, nil
	}
	return int(n), nil
}

// parityText is the inverse of parseParity.
func parityText(parity int, word string) string {
	switch parity {
	case engine.ParityDefault:
		return word
	case engine.ParityNone:
		return "0"
	}
	return strconv.Itoa(parity)
}

// carryParity refuses a parity that so many drives cannot carry: what is written
// with parity m lies on at least m+1 of them.
func carryParity(parity, drives int) error {
	if parity <= 0 || parity < drives {
		return nil
	}
	most := "it can have none: add drives first"
	if drives > 1 {
		most = "it can have " + strconv.Itoa(min(drives-1, layout.MaxParity)) + " at most; or add drives first"
	}
	count := "1 drive"
	if drives != 1 {
		count = strconv.Itoa(drives) + " drives"
	}
	return refuse(api.CodeConflict, "parity %d needs at least %d drives, and the cluster has %s: %s", parity, parity+1, count, most)
}

// checkParity is parseParity and carryParity of a setting of the cluster's; "" is
// api.ParityAuto. It returns the setting as it is to be stored.
func (c *clusters) checkParity(text string) (string, error) {
	if text == "" || text == api.ParityAuto {
		return "", nil
	}
	parity, err := parseParity(text, api.ParityAuto)
	if err != nil {
		return "", err
	}
	_, drives := c.engine.Protection()
	return text, carryParity(parity, drives)
}

// useParity brings the parity of a cluster's record into force; nil: no cluster.
// What a record says was checked before it was stored.
func (c *clusters) useParity(rec *api.Cluster) {
	if c.engine == nil {
		return
	}
	parity := engine.ParityDefault
	if rec != nil && rec.Parity != "" {
		parity, _ = parseParity(rec.Parity, api.ParityAuto)
	}
	c.engine.SetParity(parity)
}

// describeParity tells how new objects are protected.
func (d *daemon) describeParity() *api.Parity {
	out := &api.Parity{Setting: api.ParityAuto}
	if rec := d.clusters.current.Load(); rec != nil && rec.Parity != "" {
		out.Setting = rec.Parity
	}
	out.Parity, out.Drives = d.engine.Protection()
	return out
}
