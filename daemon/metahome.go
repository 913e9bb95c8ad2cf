package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/metahome"
)

// metadata is the metadata store, and where its copies are.
type metadata struct {
	store *pebblemeta.Store
	keys  *keys
	log   *slog.Logger

	choice metahome.Choice // at the start

	mu    sync.Mutex // guards what follows
	home  *metahome.Home
	dirs  []string // of the copies in service
	space map[string]*spaceLeft
	disks map[string]uint64 // device of the file system, by directory
}

// knownVoter is a drive as found, not opened yet: it can be asked and told nothing.
type knownVoter struct{ id *drive.Identity }

func (v knownVoter) Name() string                { return v.id.Drive.String() }
func (v knownVoter) Generation() (uint64, error) { return v.id.MetadataGeneration, nil }

func (v knownVoter) SetGeneration(context.Context, uint64) error {
	return errors.New("the drive is not open yet")
}

// driveVoter is a drive in service.
type driveVoter struct{ d *drive.Drive }

func (v driveVoter) Name() string                { return v.d.ID().String() }
func (v driveVoter) Generation() (uint64, error) { return v.d.MetadataGeneration(), nil }

func (v driveVoter) SetGeneration(ctx context.Context, gen uint64) error {
	return v.d.SetMetadataGeneration(ctx, gen)
}

// voters returns who remembers the generation and can be asked, and members the names
// of all that do.
func (d *daemon) voters() (voters []metahome.Voter, members []string) {
	for _, b := range d.roster.all() {
		members = append(members, b.id.String())
		if b.drive != nil {
			voters = append(voters, driveVoter{b.drive})
		}
	}
	return append(voters, d.witness), append(members, metahome.Witness)
}

// candidates returns the directories that may hold a copy of the metadata, those
// preferred for a new one first. Of several paths of one directory it is that on a
// drive, or else the first.
func (d *daemon) candidates() []metahome.Candidate {
	var out []metahome.Candidate
	for _, dir := range d.cfg.MetadataDirs {
		out = append(out, metahome.Candidate{Dir: dir})
	}
	for _, loc := range d.locs {
		if loc.block || loc.err != nil {
			continue
		}
		c := metahome.Candidate{Dir: filepath.Join(loc.path, metaDir)}
		if loc.id != nil {
			c.Drive = loc.id.Drive.String()
		}
		out = append(out, c)
	}
	return distinct(append(out, metahome.Candidate{Dir: filepath.Join(d.cfg.StateDir, metaDir)}))
}

// distinct drops further paths of the same directories: a link, or a second mount.
func distinct(all []metahome.Candidate) (out []metahome.Candidate) {
	at := map[inode]int{}
	for _, c := range all {
		type result struct {
			inode inode
			err   error
		}
		r, ok := within(lookTime, func() (r result) {
			r.inode, r.err = inodeOf(c.Dir)
			return r
		})
		i, twice := at[r.inode]
		switch {
		case !ok || r.err != nil: // not there
			if !slices.ContainsFunc(out, func(o metahome.Candidate) bool { return o.Dir == c.Dir }) {
				out = append(out, c)
			}
		case !twice:
			at[r.inode] = len(out)
			out = append(out, c)
		case out[i].Drive == "" && c.Drive != "":
			out[i] = c
		}
	}
	return out
}

// openMetadata opens the copies of the metadata that may be believed, or makes a
// store at a first start.
func (d *daemon) openMetadata(ctx context.Context) error {
	var asked []metahome.Voter
	for _, loc := range d.locs {
		if loc.id != nil && loc.id.Cluster == d.clusterID {
			asked = append(asked, knownVoter{loc.id})
		}
	}
	d.witness = metahome.NewWitness(d.cfg.StateDir)
	asked = append(asked, d.witness)
	if d.cfg.TrustMetadata {
		d.log.Error("--trust-metadata: the newest metadata found is opened, whatever newer may be elsewhere; what only that knows is lost. Take the flag away after this start")
	}
	candidates := d.candidates()
	choice, err := metahome.Choose(candidates, asked, d.cfg.TrustMetadata)
	if err != nil {
		return errors.Join(d.explainChoice(err), d.unanswered())
	}
	for _, c := range choice.Stale {
		d.log.Warn("a copy of the metadata is out of date and is not used", "dir", c.Dir)
	}
	for _, id := range choice.Missing {
		d.log.Warn("a drive that holds a copy of the metadata is missing", "id", id)
	}
	use := choice.Current
	if choice.New {
		if err := d.firstStart(); err != nil {
			return err
		}
		use = candidates[:1]
		if err := makeDirs(use[0].Dir); err != nil {
			return err
		}
	}
	return d.openCopies(ctx, choice, use)
}

// explainChoice says what to do where no copy of the metadata can be believed.
func (d *daemon) explainChoice(err error) error {
	switch {
	case errors.Is(err, metahome.ErrTooFewVoters):
		return fmt.Errorf("%w. Bring drives back; if they are lost for good, start once with --trust-metadata: then what only a missing copy knows is lost", err)
	case errors.Is(err, metahome.ErrNoCurrent) && !slices.ContainsFunc(d.locs, func(l location) bool { return l.id != nil }):
		return fmt.Errorf("%w. The drives are not there: mount them. To begin anew, without what they hold, remove %s and %s", err,
			filepath.Join(d.cfg.StateDir, driveListFile), filepath.Join(d.cfg.StateDir, metahome.WitnessFile))
	case errors.Is(err, metahome.ErrNoCurrent):
		return fmt.Errorf("%w. Name the drives that hold its %q directories, and the --metadata-dir and --state-dir that belong to them; if they are lost for good, and there is an older copy, --trust-metadata starts with that", err, metaDir)
	}
	return err
}

// unanswered tells of the paths that could not be examined: the metadata may be there.
func (d *daemon) unanswered() error {
	var errs []error
	for _, loc := range d.locs {
		if !errors.Is(loc.err, errSame) {
			errs = append(errs, loc.err)
		}
	}
	return errors.Join(errs...)
}

// firstStart makes sure that what looks like a first start is one: that metadata was
// not merely left out.
func (d *daemon) firstStart() error {
	if err := d.unanswered(); err != nil {
		return err
	}
	for _, loc := range d.locs {
		switch {
		case loc.id == nil:
		case loc.block:
			return fmt.Errorf("drive %s is not blank, and no metadata store is in %s: it is a drive of Sluice, so give the --state-dir, the --metadata-dir or the drive with the %q directory that belong to it (clear its first 2 MiB to have it formatted)", loc.path, d.cfg.StateDir, metaDir)
		default:
			return fmt.Errorf("drive %s holds data, but its metadata is on none of the drives given: name the drive that holds the %q directory too", loc.path, metaDir)
		}
	}
	if len(d.list.Drives) > 0 {
		return fmt.Errorf("the drives of this cluster, %s among them, are not there: mount them. To begin anew, without what they hold, remove %s", d.list.Drives[0].Path, filepath.Join(d.cfg.StateDir, driveListFile))
	}
	return nil
}

// openCopies opens the store in one of the directories, the others being copies.
func (d *daemon) openCopies(ctx context.Context, choice metahome.Choice, use []metahome.Candidate) (err error) {
	m := &metadata{log: d.log, space: map[string]*spaceLeft{}, disks: map[string]uint64{}, choice: choice}
	if !choice.New {
		voters, members := d.voters()
		if len(choice.Voters) > 0 {
			members = choice.Voters // until the documents tell
		}
		if m.home, err = metahome.Open(choice, use, voters, members); err != nil {
			return err
		}
	}
	dirs := make([]string, len(use))
	for i, c := range use {
		dirs[i] = c.Dir
	}
	if d.keys, err = openKeys(d.cfg.StateDir, dirs, d.log); err != nil {
		return err
	}
	m.keys, m.dirs = d.keys, dirs
	var errs []error
	for i, dir := range dirs {
		if !m.has(dir) {
			continue
		}
		m.store, err = d.keys.openStore(ctx, func(key *[32]byte) (*pebblemeta.Store, error) {
			opts := pebblemeta.Options{CacheSize: d.cfg.Cache, Logger: d.log, Key: key, Eject: m.eject}
			m.mu.Lock()
			in := m.dirs // but those that were given up meanwhile
			m.mu.Unlock()
			for _, other := range in {
				if other != dir {
					opts.Copies = append(opts.Copies, pebblemeta.Copy{Dir: other})
				}
			}
			return pebblemeta.Open(dir, opts)
		})
		if err == nil {
			break
		}
		if errors.Is(err, unix.EAGAIN) { // the store's lock file
			return fmt.Errorf("drive with metadata %s: another daemon uses it", dir)
		}
		errs = append(errs, fmt.Errorf("metadata store %s: %w", dir, err))
		if i+1 < len(dirs) && ctx.Err() == nil {
			d.log.Error("the metadata cannot be opened; another copy is tried", "dir", dir, "err", err)
		}
	}
	if m.store == nil {
		return errors.Join(errs...)
	}
	d.meta = m
	id, err := clusterID(ctx, m.store)
	if err == nil && id != d.clusterID && d.clusterID != [16]byte{} {
		err = fmt.Errorf("%w: the metadata is that of cluster %x, the drives belong to %x", drive.ErrCluster, id, d.clusterID)
	}
	d.clusterID = id
	return err
}

// eject records that the copy in dir is stale.
func (m *metadata) eject(ctx context.Context, dir string, cause error) error {
	m.log.Error("a copy of the metadata is given up", "dir", dir, "err", cause)
	m.mu.Lock()
	home := m.home
	delete(m.space, dir)
	if len(m.dirs) > 1 {
		m.dirs = slices.DeleteFunc(slices.Clone(m.dirs), func(d string) bool { return d == dir })
	}
	m.mu.Unlock()
	m.keys.files.leave(dir)
	if home == nil {
		return cause // a first start; there is no other copy
	}
	return home.Exclude(ctx, dir)
}

// has tells whether the copy in dir was not given up.
func (m *metadata) has(dir string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.dirs, dir)
}

// joined notes that there is a copy in dir.
func (m *metadata) joined(dir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.dirs, dir) {
		m.dirs = append(slices.Clone(m.dirs), dir)
	}
}

// joinMetadata makes the drives in service the voters, now that all are known.
func (d *daemon) joinMetadata(ctx context.Context) error {
	voters, members := d.voters()
	m := d.meta
	if m.home != nil {
		if err := m.home.SetVoters(ctx, voters, members); err != nil {
			d.log.Error("which drives vote on the metadata could not be recorded yet; it is tried again", "err", err)
			d.elect()
		}
		return nil
	}
	dir := m.store.Copies()[0].Dir
	first := metahome.Candidate{Dir: dir} // on a drive that was not formatted yet
	home, err := metahome.Open(m.choice, []metahome.Candidate{first}, voters, members)
	if err == nil {
		if named := d.candidateOf(dir); named != first {
			err = home.Include(ctx, named)
		}
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.home = home
	m.mu.Unlock()
	return nil
}

// candidateOf names the drive that dir is on.
func (d *daemon) candidateOf(dir string) metahome.Candidate {
	c := metahome.Candidate{Dir: dir}
	for _, b := range d.roster.in() {
		if !b.loc.block && filepath.Join(b.loc.path, metaDir) == dir {
			c.Drive = b.id.String()
		}
	}
	return c
}

// disk returns the device of the file system that dir is, or will be, on; 0: not
// known. It does not wait for one that hangs for long, and asks each once.
func (m *metadata) disk(dir string) uint64 {
	m.mu.Lock()
	dev, known := m.disks[dir]
	m.mu.Unlock()
	if known {
		return dev
	}
	dev, _ = within(lookTime, func() uint64 {
		for at := dir; ; at = filepath.Dir(at) { // dir may not have been made yet
			if now, err := inodeOf(at); err == nil || at == filepath.Dir(at) {
				return now.dev
			}
		}
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disks[dir] = dev
	return dev
}

// spaceLeft is the last answer of a file system.
type spaceLeft struct {
	asking bool
	bytes  int64
	err    error
}

// spaceTime is how long a file system may take to tell what it has left.
const spaceTime = 200 * time.Millisecond

// free returns the bytes left to the fullest of the copies.
func (m *metadata) free() (int64, error) {
	least, err := int64(math.MaxInt64), error(nil)
	answers := 0
	m.mu.Lock()
	dirs := m.dirs
	m.mu.Unlock()
	for _, dir := range dirs {
		left, e := m.freeOf(dir)
		if e != nil {
			err = e
			continue
		}
		answers++
		least = min(least, left)
	}
	if answers > 0 {
		return least, nil
	}
	return 0, err
}

// freeOf is freeBytes that takes a file system's last word when it hangs.
func (m *metadata) freeOf(dir string) (int64, error) {
	m.mu.Lock()
	s := m.space[dir]
	if s == nil {
		s = &spaceLeft{err: fmt.Errorf("%s does not answer", dir)}
		m.space[dir] = s
	}
	busy := s.asking
	s.asking = true
	m.mu.Unlock()
	if !busy {
		within(spaceTime, func() bool {
			bytes, err := freeBytes(dir)
			m.mu.Lock()
			defer m.mu.Unlock()
			s.asking, s.bytes, s.err = false, bytes, err
			return true
		})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return s.bytes, s.err
}

// freeBytes is what the file system of dir has left for the daemon.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// metaReserve is what every file system with metadata has left for it. One that does
// not answer is left out.
func (d *daemon) metaReserve() int64 {
	least := d.cfg.Reserve
	look := func(path string) {
		if n, ok := within(spaceTime, func() int64 { return reserveOf(d.cfg, path) }); ok {
			least = min(least, n)
		}
	}
	for _, c := range d.meta.store.Copies() {
		look(c.Dir)
	}
	for _, b := range d.roster.in() {
		if !b.loc.block {
			look(b.loc.path)
		}
	}
	return least
}
