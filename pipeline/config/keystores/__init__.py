"""Key stores and keys as people hand them in, opened and turned into plain PEM.

opening            a store by its type; what opens it here
process, __main__  what opens it in a process of its own, for stores of strangers
certificates       certificates and keys from PEM, PKCS12 and JKS
cost               what a store costs to open, known before it is opened
pkcs12, jks, der   the formats
files              stores on the worker's disk
"""
