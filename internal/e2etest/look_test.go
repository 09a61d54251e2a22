package e2etest_test

// look checks what is on the screen for accessibility, on a desk by day and on a phone by night, and takes pictures of
// it in all four combinations where SCREENSHOTS asks for them.
func (p *person) look(name string) {
	p.t.Helper()
	for _, screen := range []struct {
		name          string
		width, height int
	}{{"desk", 1280, 800}, {"phone", 360, 740}} {
		p.Viewport(screen.width, screen.height)
		for _, scheme := range []string{"light", "dark"} {
			p.Scheme(scheme)
			p.Screenshot(name + "-" + screen.name + "-" + scheme)
			if (screen.name == "desk") != (scheme == "light") {
				continue
			}
			for _, v := range p.Axe() {
				p.t.Errorf("%s on a %s, %s: %v", name, screen.name, scheme, v)
			}
			if sideways := evalBool(p, "document.documentElement.scrollWidth > document.documentElement.clientWidth"); sideways {
				p.t.Errorf("%s on a %s scrolls sideways", name, screen.name)
			}
		}
	}
	p.Viewport(1280, 800)
	p.Scheme("light")
}
