"""Renders the chart in argv[1] once for each set of values in the JSON list on stdin; prints a JSON list of texts, or of
{"error": ...} where Helm refuses the values. The last element is what lint says."""
import json
import sys

import helm_python as helm

found = []
with helm.Chart.load(sys.argv[1]) as chart:
    for values in json.load(sys.stdin):
        try:
            files = chart.render(values, name="millrace", namespace="millrace-system")
            found.append("\n---\n".join(text for name, text in sorted(files.items())))
        except helm.HelmError as error:
            found.append({"error": str(error)})
found.append(helm.lint(sys.argv[1]))
json.dump(found, sys.stdout)
