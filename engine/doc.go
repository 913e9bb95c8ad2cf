// Package engine stores objects: it joins drives (engine/drive) and metadata
// (engine/meta) under the law of durability.
//
// The law: data is durable and verified before metadata names it; the metadata
// commit is the linearisation point; whatever no metadata names is garbage.
//
// The package speaks of buckets, keys and bytes, not of HTTP or XML: its errors
// are kinds, and documents it does not interpret (policies, CORS rules, users)
// are opaque. ARCHITECTURE.md tells how the parts work together; FORMAT.md
// documents every byte on disk.
package engine
