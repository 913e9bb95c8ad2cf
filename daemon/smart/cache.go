package smart

import (
	"sync"
	"time"
)

// Info is what a device tells of itself. nil: it does not.
type Info struct {
	Device       string // the kernel's name, "nvme0n1"
	Model        string
	Serial       string
	Temperature  *int64 // degrees Celsius
	Wear         *int64 // percent of the life the maker expects that is used up; may exceed 100
	Spare        *int64 // percent of the spare blocks left
	PowerOnHours *int64
	MediaErrors  *int64   // errors that the device could not mend
	Critical     []string // what the device warns of
}

// join makes in the worse of itself and another device.
func (in *Info) join(o Info) {
	in.Device += "," + o.Device
	in.Model, in.Serial = joined(in.Model, o.Model), joined(in.Serial, o.Serial)
	in.Temperature = worse(in.Temperature, o.Temperature, 1)
	in.Wear = worse(in.Wear, o.Wear, 1)
	in.Spare = worse(in.Spare, o.Spare, -1)
	in.PowerOnHours = worse(in.PowerOnHours, o.PowerOnHours, 1)
	in.MediaErrors = worse(in.MediaErrors, o.MediaErrors, 1)
	in.Critical = append(in.Critical, o.Critical...)
}

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "," + b
}

// worse returns the greater one, or, with sign -1, the lesser.
func worse(a, b *int64, sign int64) *int64 {
	if a == nil || b != nil && sign**b > sign**a {
		return b
	}
	return a
}

// maxAge is how long an answer is given before the device is asked again.
const maxAge = time.Minute

// Cache keeps what devices told. Its methods are safe for concurrent use.
type Cache struct {
	read func(path string) (Info, error)

	mu      sync.Mutex
	entries map[string]*entry
}

type entry struct {
	info   Info
	at     time.Time // of info, or of the last try
	asking bool
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{read: linux().read, entries: map[string]*entry{}}
}

// Get returns what the device behind path told last, at once. At first that is
// nothing; it is asked in the background when the answer is older than a minute.
func (c *Cache) Get(path string) Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[path]
	if e == nil {
		e = new(entry)
		c.entries[path] = e
	}
	if !e.asking && time.Since(e.at) > maxAge {
		e.asking = true
		go c.ask(path, e)
	}
	return e.info
}

// Forget drops what is known of path.
func (c *Cache) Forget(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, path)
}

func (c *Cache) ask(path string, e *entry) {
	info, err := c.read(path)
	c.mu.Lock()
	defer c.mu.Unlock()
	e.asking, e.at = false, time.Now()
	if err != nil {
		info = Info{}
	}
	e.info = info
}
