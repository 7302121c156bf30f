# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays as their bytes: dtype and shape belong to the neuron, so a message carries no header.

    pip install numpy
    python examples/numpy_arrays.py

The receiver gets a read-only array over the received bytes, without a copy. Two ends of a pair in one
process.
"""

import asyncio

import numpy as np

from plexo import EncodeError, GanglionZmqTcpPair, Neuron, NumpyCodec, Plexus

image = Neuron(np.ndarray, "org.brewery.camera", NumpyCodec(np.uint8, (480, 640, 3)), type_name_alias="Image")
track = Neuron(np.ndarray, "org.brewery.camera", NumpyCodec(np.float32, (None, 2)), type_name_alias="Track")


async def main() -> None:
    here = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=0)
    there = GanglionZmqTcpPair(peer=here.endpoint)
    async with Plexus(ganglia=[here]) as viewer, Plexus(ganglia=[there]) as camera:
        for neuron in (image, track):
            await camera.adapt(neuron)
        images, tracks = viewer.stream(image), viewer.stream(track)

        # Two neurons carry arrays, so the neuron is named.
        await camera.transmit(np.full((480, 640, 3), 7, np.uint8), image)
        await camera.transmit(np.arange(10, dtype=np.float32).reshape(5, 2), track)
        picture, points = await anext(images), await anext(tracks)
        print("image:", picture.shape, picture.dtype, "writeable:", picture.flags.writeable)
        print("track:", points.shape, points.dtype, points[-1].tolist())
        points = points.copy()  # to change it
        points[0] = 0

        try:
            await camera.transmit(np.zeros((480, 640, 3)), image)  # float64: never cast in silence
        except EncodeError as error:
            print("refused:", error)


if __name__ == "__main__":
    asyncio.run(main())
