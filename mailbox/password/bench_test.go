package password

import "testing"

// What a failure costs, and the estimate of it.
func BenchmarkVerify(b *testing.B) {
	for name, hash := range map[string]string{
		"argon2id": newDecoy(),
		"bcrypt10": "$2y$10$hrGZkC1hCkJLC27TUB5vde2u8pczuCjO5ngp7ub7xXz0IQfkuIoN2",
		"sha":      "$6$lNdWITZ/76AjSXf6$vd8VsdVbfjihHiyF.K8g10tNu78oMovMo8Edvz5N3NisP.9v1ymKmlsHzNVpD88fZj8YAZT7SN63ju1859Ngy.",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportMetric(float64(Work(hash).Milliseconds()), "estimate-ms")
			for b.Loop() {
				if _, err := Verify(hash, "correct horse"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
