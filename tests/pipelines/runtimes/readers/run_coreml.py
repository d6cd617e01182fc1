"""Exports a model by the command's own function and reads the packages back; prints what they hold.

Arguments: a model directory, a folder for the export.
"""

import json
import sys
from pathlib import Path

import coremltools

from pipelines.runtimes.coreml_target import CoremlTarget
from pipelines.runtimes.device_export import export_to_device
from pipelines.runtimes.device_settings import DeviceSettings

model, output = Path(sys.argv[1]), Path(sys.argv[2])
settings = DeviceSettings(context=48, longest=12, picture_side=32)
export_to_device(CoremlTarget(), model, output, settings)
found = {}
for name in ("decoder", "pictures", "recordings"):
    package = coremltools.models.MLModel(str(output / f"{name}.mlpackage"), skip_model_load=True)
    about = package.get_spec().description
    found[name] = {
        "inputs": [one.name for one in about.input],
        "outputs": [one.name for one in about.output],
        "states": [one.name for one in about.state],
    }
print(json.dumps(found))
