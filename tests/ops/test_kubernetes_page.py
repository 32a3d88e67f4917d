"""docs/kubernetes.md: what it shows are pieces of files that the other tests run."""

import re
import textwrap
import unittest

from charts import EXAMPLES, MERCHANT, ROOT

PAGE = ROOT / "docs/kubernetes.md"


class Page(unittest.TestCase):
    def test_what_it_shows_stands_in_files_that_are_tested(self):
        files = [path.read_text() for place in (EXAMPLES, MERCHANT) for path in place.rglob("*.yaml")]
        lines = [[line.strip() for line in text.splitlines()] for text in files]
        shown = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.S | re.M)
        self.assertGreater(len(shown), 3)
        for block in shown:
            block = [line.strip() for line in textwrap.dedent(block).strip().splitlines()]
            there = any(text[at : at + len(block)] == block for text in lines for at in range(len(text)))
            self.assertTrue(there, "\n".join(block))

    def test_the_files_that_it_names_are_there(self):
        text = PAGE.read_text()
        for path in re.findall(r"(?:helm|tests)/[\w./-]+", text):
            self.assertTrue((ROOT / path.rstrip(".")).exists(), path)
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            self.assertTrue((PAGE.parent / link).exists(), link)

    def test_no_example_is_left_out(self):
        text = PAGE.read_text()
        for path in EXAMPLES.iterdir():
            self.assertIn(f"helm/examples/{path.name}", text)


if __name__ == "__main__":
    unittest.main()
