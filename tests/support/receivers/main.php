<?php
// Says of each line of stdin, a request with tabs between its parts, whether verify.php accepts it.

require $argv[1];

while (($line = fgets(STDIN)) !== false) {
    echo json_encode(verify(...explode("\t", rtrim($line, "\n")))), "\n";
}
