import java.nio.charset.StandardCharsets;
import java.util.Scanner;

/** Says of each line of stdin, a request with tabs between its parts, whether Webhook.java accepts it. */
class Main {
    public static void main(String[] arguments) throws Exception {
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        while (lines.hasNextLine()) {
            String[] request = lines.nextLine().split("\t", -1);
            byte[] body = request[4].getBytes(StandardCharsets.UTF_8);
            System.out.println(Webhook.verify(request[0], request[1], request[2], request[3], body));
        }
    }
}
