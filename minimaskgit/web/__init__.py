"""The playground: a run's models in JavaScript, in one HTML file that needs no network.

pack.py and build.py write the file. The engine's files read like the Python files of the same names:

tensors.js schedules.js transformer.js tokenizer.js decoding.js autoregressive.js decoders.js editing.js weights.js

worker.js lists the requests that they answer, and client.js sends them from the page: page.html page.css page.js.
"""
