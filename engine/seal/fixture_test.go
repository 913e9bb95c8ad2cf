package seal

// Made once with version 1; never to be made again.
const (
	fixtureFingerprint = "39d36811b614e60c"
	fixtureBox         = "\x01\x4b\x08\x52\x8d\xb1\x48\x0d\x5f\x00\x79\x3d\x61\x0a\x73\x89\x3a\xf9\x37\x1a\x62\xf6\xc7\x25\x92\x37\x74\xcd\xc0\xd0\x67\xcf\x64\x40"

	wrapFixture    = "0183d8432413e975852a03ab7bbec33e6b54816b4f48acc05b02aa7ae0ab1707e77d0344171c3c1acf78ebd22b04160a05e4b14ab5eea1028acff1ea1d93b38386f51b88227e86c80b"
	etagFixture    = "aaf2181b778be5ec009cf7f966cec15d"
	payloadFixture = "e8d7f943414a9d61 7ccbde36e2e24129657ddaf94f017f0dab00cb6fdf f3bef2b70024bf19"
)
