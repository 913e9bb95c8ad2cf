package drive

// FormatVersion is the on-disk format that this release writes.
const FormatVersion = superVersion
