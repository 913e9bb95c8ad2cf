package main

// kmsRoutes are the admin routes of key management.
func kmsRoutes() map[string]adminFunc {
	return map[string]adminFunc{}
}
