"""Opens key stores and keys, and turns them into plain PEM.

opening            a store of any type, and how to open it in this process
process, __main__  opens untrusted stores in a separate process
certificates       certificates and keys from PEM, PKCS12 and JKS
cost               how much work a store takes, found out before it is opened
pkcs12, jks, der   the formats
files              stores on the worker's disk
"""
