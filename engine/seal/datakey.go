package seal

// DataKey encrypts the data of one object, or of all parts of one upload.
type DataKey struct{ raw [32]byte }
