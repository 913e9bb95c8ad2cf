// Package metahome decides which copies of the metadata may be believed, and records
// which may not any more.
//
// Copies are directories on several drives that hold the same store. Each has a file
// (File, record.go) with a generation. A copy that misses a write is left out of
// service, and before the write is acknowledged a new generation is recorded with the
// remaining copies and with a majority of the voters: the superblocks of the cluster's
// drives and a witness below the state directory.
//
// Invariants:
//
//   - A copy whose generation is below the greatest that any voter or copy knows is
//     never opened as the truth, unless that greatest one was cut short before a
//     majority of the voters knew it, so that nothing was acknowledged under it.
//   - Without the voices of so many voters that every majority is among them, nothing
//     is opened, unless an administrator says so.
//   - A generation is never used again.
//
// # Why it holds
//
// A change is made in three steps, each durable before the next: (1) once in the life
// of a Home, a majority of the voters promise a range of numbers; (2) the copies that
// stay get the next number of the range; (3) a majority of the voters accept it. Until
// (3) is done the caller acknowledges nothing. A later process that reads so many
// voters that every majority is among them learns the greatest range that was
// promised, and so takes greater numbers than any that was ever written, and the
// greatest number that was accepted, M. Whatever was decided is at most M; a copy of
// generation M or more was in service when the last decision was made, and has what
// was acknowledged since: a copy is out of service only from a decision on whose
// number it does not have. This is Paxos, whose value is the set of copies that have
// the number. A change of the voters is decided by majorities of the old ones and of
// the new ones, then once more by the new ones alone, as Raft does it.
//
// # Order of a start
//
// Choose; then Open with the current copies that are to be used (they stay current: a
// copy that is current and not used is excluded by Open); then pebblemeta.Open with
// the same copies, whose Eject calls Exclude; then AddCopy for the others, whose
// promote calls Include. Open writes to the voters if something is to be excluded or
// the voters changed; else the first Exclude, Include or SetVoters does.
package metahome
