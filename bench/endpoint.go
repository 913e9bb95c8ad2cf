package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// endpoint is one side of a comparison: a server that runs, where URL is set, or
// a daemon that bench starts.
type endpoint struct {
	Name string `toml:"name" json:"name"`
	// A server that somebody else started. Keys default to -access-key and
	// -secret-key. PID or PIDFile, if given, say where its CPU time and memory are
	// read; Sync and Version are for the report.
	URL       string `toml:"url" json:"url,omitempty"`
	AccessKey string `toml:"access_key" json:"-"`
	SecretKey string `toml:"secret_key" json:"-"`
	Region    string `toml:"region" json:"-"`
	CA        string `toml:"ca" json:"-"`
	PID       int    `toml:"pid" json:"-"`
	PIDFile   string `toml:"pid_file" json:"-"`
	Sync      string `toml:"sync" json:"sync"` // what an answer to a PUT promises
	Version   string `toml:"version" json:"version"`
	// A daemon of bench's own: the folder of sluiced and ctl, further flags, and how
	// many folders serve as drives.
	Bin    string `toml:"bin" json:"bin,omitempty"`
	Args   string `toml:"args" json:"args,omitempty"`
	Drives int    `toml:"drives" json:"drives,omitempty"`
	TLS    bool   `toml:"tls" json:"tls,omitempty"`
}

func (e *endpoint) own() bool { return e.URL == "" }

// describe says what is particular of an endpoint: its version, and of a daemon of
// bench's own what it was started with.
func (e *endpoint) describe() string {
	out := e.Version
	if e.Drives > 1 {
		out += fmt.Sprintf(", %d drives", e.Drives)
	}
	if e.TLS || strings.HasPrefix(e.URL, "https:") {
		out += ", TLS"
	}
	if e.Args != "" {
		out += ", " + e.Args
	}
	return out
}

// parseEndpoint takes an endpoint as the command line gives it:
//
//	sluice                          a daemon of bench's own, from bin
//	NAME=FOLDER[,FLAGS]             one from another folder, with flags for sluiced
//	NAME=http[s]://HOST:PORT[,key=…,secret=…,region=…,ca=…,pid=…,pid-file=…,sync=…,version=…]
func parseEndpoint(text, bin string) (e endpoint, err error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok {
		if name != "sluice" {
			return e, fmt.Errorf("endpoint %q: want sluice, NAME=FOLDER[,FLAGS] or NAME=URL[,key=…,secret=…,pid=…,sync=…]", text)
		}
		return endpoint{Name: name, Bin: bin}, nil
	}
	place, fields, _ := strings.Cut(rest, ",")
	if e.Name = name; name == "" || place == "" {
		return e, fmt.Errorf("endpoint %q: want a name and a place", text)
	}
	if !strings.HasPrefix(place, "http://") && !strings.HasPrefix(place, "https://") {
		e.Bin, e.Args = place, fields
		return e, nil
	}
	e.URL = place
	return e, e.set(fields)
}

// set takes fields as "name=value,name=value"; a value may hold commas, as long
// as none is followed by the name of a field and "=".
func (e *endpoint) set(fields string) error {
	texts := map[string]*string{
		"key": &e.AccessKey, "secret": &e.SecretKey, "region": &e.Region, "ca": &e.CA,
		"pid-file": &e.PIDFile, "sync": &e.Sync, "version": &e.Version,
	}
	last := (*string)(nil)
	for part := range strings.SplitSeq(fields, ",") {
		name, value, ok := strings.Cut(part, "=")
		switch {
		case part == "" && last == nil:
		case ok && texts[name] != nil:
			last = texts[name]
			*last = value
		case ok && name == "pid":
			var err error
			if e.PID, err = strconv.Atoi(value); err != nil || e.PID < 1 {
				return fmt.Errorf("endpoint %s: pid %q", e.Name, value)
			}
			last = nil
		case last != nil:
			*last += "," + part
		default:
			return fmt.Errorf("endpoint %s: no field %q", e.Name, part)
		}
	}
	return nil
}

// parseEndpoints takes a TOML file: tables [[endpoint]] with the fields of
// endpoint.
func parseEndpoints(text string) ([]endpoint, error) {
	var file struct {
		Endpoint []endpoint `toml:"endpoint"`
	}
	meta, err := toml.Decode(text, &file)
	if err != nil {
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("no setting %s", unknown[0])
	}
	return file.Endpoint, nil
}

// endpoints returns those of the command line, then all of the file, unless the
// command line picks some of the file by their names.
func (o *options) endpoints() ([]endpoint, error) {
	var known, out []endpoint
	if o.endpointsFile != "" {
		text, err := os.ReadFile(o.endpointsFile)
		if err != nil {
			return nil, err
		}
		if known, err = parseEndpoints(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", o.endpointsFile, err)
		}
	}
	picked := false
	for _, side := range o.sides {
		e, err := endpoint{}, errors.New("not in the file")
		for _, k := range known {
			if k.Name == side {
				e, err, picked = k, nil, true
			}
		}
		if err != nil {
			if e, err = parseEndpoint(side, o.bin); err != nil {
				return nil, err
			}
		}
		out = append(out, e)
	}
	if !picked {
		out = append(out, known...)
	}
	return out, o.complete(out)
}

// complete fills in what endpoints leave to flags, makes their names differ and
// checks them.
func (o *options) complete(list []endpoint) error {
	if len(list) == 0 {
		return errors.New("compare: want endpoints: sluice, NAME=FOLDER[,FLAGS], NAME=URL[,…] or -endpoints FILE")
	}
	names := map[string]int{}
	for i := range list {
		e := &list[i]
		if names[e.Name]++; e.Name == "" || names[e.Name] > 1 {
			e.Name += "#" + strconv.Itoa(i+1)
		}
		if e.own() {
			if e.Bin == "" {
				e.Bin = o.bin
			}
			e.TLS = e.TLS || o.schemes == "https"
			e.Sync = ownSync
			if e.Drives == 0 {
				e.Drives = o.drives
			}
			if e.Drives < 1 || e.Drives > drivesMost {
				return fmt.Errorf("endpoint %s: %d drives", e.Name, e.Drives)
			}
			continue
		}
		if u, err := url.Parse(e.URL); err != nil || u.Host == "" {
			return fmt.Errorf("endpoint %s: URL %q", e.Name, e.URL)
		}
		e.AccessKey, e.SecretKey = orElse(e.AccessKey, o.accessKey), orElse(e.SecretKey, o.secret)
		e.Region, e.Sync, e.Version = orElse(e.Region, o.region), orElse(e.Sync, "not stated"), orElse(e.Version, "not stated")
		if e.PIDFile != "" {
			text, err := os.ReadFile(e.PIDFile)
			if err != nil {
				return fmt.Errorf("endpoint %s: %w", e.Name, err)
			}
			if e.PID, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
				return fmt.Errorf("endpoint %s: %s: %w", e.Name, e.PIDFile, err)
			}
		}
	}
	return nil
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
