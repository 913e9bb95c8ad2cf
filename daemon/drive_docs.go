package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal/atomicfile"
)

// States of a drive in its document.
const (
	docActive   = "active"
	docDraining = "draining" // to be removed once nothing is left on it
	docReplaced = "replaced" // its fragments are made anew on the successor
	docRemoved  = "removed"  // no longer of the cluster; kept so that it is not taken for a new one
)

// driveDoc is the document drives/<id>.
type driveDoc struct {
	Path      string    `json:"path"` // where it was last
	Added     time.Time `json:"added"`
	State     string    `json:"state,omitempty"`     // "": active, of older releases
	Successor string    `json:"successor,omitempty"` // id, of docReplaced
	Reason    string    `json:"reason,omitempty"`    // for the state, for people
}

// member reports whether the drive belongs to the cluster.
func (d *driveDoc) member() bool { return d.State != docRemoved }

// successor returns the id of the drive that takes over, or the zero id.
func (d *driveDoc) successor() (id layout.DriveID) {
	if d.State == docReplaced {
		id, _ = parseDriveID(d.Successor) // zero: none is known
	}
	return id
}

func parseDriveID(text string) (id layout.DriveID, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("%.64q is no drive's id", text)
	}
	copy(id[:], raw)
	return id, nil
}

// readDriveDocs reads the drives' documents.
func readDriveDocs(store meta.Reader) (map[layout.DriveID]driveDoc, error) {
	out := map[layout.DriveID]driveDoc{}
	var failed error
	err := meta.ListDocs(store, 0, 0, docDrives, func(doc meta.Doc) bool {
		id, err := parseDriveID(strings.TrimPrefix(doc.Path, docDrives))
		var dd driveDoc
		if err == nil {
			err = json.Unmarshal(doc.Value, &dd)
		}
		if err != nil {
			failed = fmt.Errorf("%s: %w", doc.Path, err)
			return false
		}
		dd.Path = absolute(dd.Path)
		if dd.State == "" {
			dd.State = docActive
		}
		out[id] = dd
		return true
	})
	return out, errors.Join(err, failed)
}

// saveDrive writes the document of a drive and brings the list in the state
// directory up to date.
func (d *daemon) saveDrive(ctx context.Context, b bay) error {
	value, err := json.Marshal(b.doc)
	if err != nil {
		return err
	}
	if _, err := d.engine.Docs("").Put(ctx, docDrives+b.id.String(), value, -1); err != nil {
		return err
	}
	if b.doc.member() {
		d.roster.record(b)
	} else {
		d.roster.drop(b.id)
	}
	return d.writeDriveList()
}

// The list of the drives in the state directory tells a start where to look for
// drives besides --drive: the metadata, which knows, is on them. It is no truth, but
// a hint, and it is used only with the daemon's user's rights, for the user could
// have written it. JSON:
//
//	{"v": 1, "cluster": ID, "drives": [{"id": ID, "path": PATH}, …]}
const (
	driveListFile = "drives.json"
	maxDriveList  = 1 << 20 // bytes
	driveListV    = 1
)

type driveList struct {
	V       int         `json:"v"`
	Cluster string      `json:"cluster"`
	Drives  []driveSpot `json:"drives"`
}

type driveSpot struct {
	ID   string `json:"id"`
	Path string `json:"path"`
}

// cluster returns the cluster's id; zero: there is no list yet.
func (l *driveList) cluster() (id [16]byte) {
	raw, err := hex.DecodeString(l.Cluster)
	if err == nil && len(raw) == len(id) {
		copy(id[:], raw)
	}
	return id
}

// readDriveList reads the list; it is empty where there is none. One that cannot be
// read is no reason not to start: --drive may name all there is.
func readDriveList(stateDir string) (l driveList, err error) {
	f, err := os.Open(filepath.Join(stateDir, driveListFile))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDriveList+1))
	if err != nil {
		return l, err
	}
	return decodeDriveList(text)
}

func decodeDriveList(text []byte) (l driveList, err error) {
	if len(text) > maxDriveList {
		return l, fmt.Errorf("%s: it has more than %d bytes", driveListFile, maxDriveList)
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return driveList{}, fmt.Errorf("%s: %w", driveListFile, err)
	}
	if l.V != driveListV || l.cluster() == [16]byte{} {
		return driveList{}, fmt.Errorf("%s: version %d, cluster %.40q", driveListFile, l.V, l.Cluster)
	}
	for _, s := range l.Drives {
		if _, err := parseDriveID(s.ID); err != nil || !filepath.IsAbs(s.Path) {
			return driveList{}, fmt.Errorf("%s: drive %.64q at %.256q", driveListFile, s.ID, s.Path)
		}
	}
	return l, nil
}

// writeDriveList writes the list anew.
func (d *daemon) writeDriveList() error {
	l := driveList{V: driveListV, Cluster: hex.EncodeToString(d.clusterID[:])}
	for _, b := range d.roster.all() {
		l.Drives = append(l.Drives, driveSpot{b.id.String(), b.path()})
	}
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(d.cfg.StateDir, driveListFile), append(text, '\n'))
}
