import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import javax.net.SocketFactory;

/** pgjdbc's `socketFactory` over the Unix sockets that Java has since 16, as libraries such as junixsocket bring one. */
public class UnixSockets extends SocketFactory {
    private final UnixDomainSocketAddress address;

    public UnixSockets(String path) {
        address = UnixDomainSocketAddress.of(path);
    }

    @Override
    public Socket createSocket() throws IOException {
        return new UnixSocket(address);
    }

    @Override
    public Socket createSocket(String host, int port) throws IOException {
        return createSocket();
    }

    @Override
    public Socket createSocket(String host, int port, InetAddress local, int localPort) throws IOException {
        return createSocket();
    }

    @Override
    public Socket createSocket(InetAddress host, int port) throws IOException {
        return createSocket();
    }

    @Override
    public Socket createSocket(InetAddress host, int port, InetAddress local, int localPort) throws IOException {
        return createSocket();
    }

    /** As much of a socket as pgjdbc asks of one. Reads and writes wait by a selector, since reads have a deadline. */
    private static class UnixSocket extends Socket {
        private final UnixDomainSocketAddress address;
        private final SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
        private final Selector readable = Selector.open();
        private final Selector writable = Selector.open();
        private int timeoutMillis;

        UnixSocket(UnixDomainSocketAddress address) throws IOException {
            this.address = address;
        }

        @Override
        public void connect(SocketAddress endpoint, int timeout) throws IOException {
            channel.connect(address);
            channel.configureBlocking(false);
            channel.register(readable, SelectionKey.OP_READ);
            channel.register(writable, SelectionKey.OP_WRITE);
        }

        @Override
        public boolean isConnected() {
            return channel.isConnected();
        }

        @Override
        public boolean isClosed() {
            return !channel.isOpen();
        }

        @Override
        public InputStream getInputStream() {
            return new InputStream() {
                @Override
                public int read() throws IOException {
                    byte[] one = new byte[1];
                    return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
                }

                @Override
                public int read(byte[] bytes, int from, int length) throws IOException {
                    ByteBuffer buffer = ByteBuffer.wrap(bytes, from, length);
                    while (true) {
                        int read = channel.read(buffer);
                        if (read != 0 || length == 0) {
                            return read;
                        }
                        readable.selectedKeys().clear();
                        if (readable.select(timeoutMillis) == 0 && timeoutMillis > 0) {
                            throw new SocketTimeoutException();
                        }
                    }
                }
            };
        }

        @Override
        public OutputStream getOutputStream() {
            return new OutputStream() {
                @Override
                public void write(int one) throws IOException {
                    write(new byte[] {(byte) one}, 0, 1);
                }

                @Override
                public void write(byte[] bytes, int from, int length) throws IOException {
                    ByteBuffer buffer = ByteBuffer.wrap(bytes, from, length);
                    while (channel.write(buffer) >= 0 && buffer.hasRemaining()) {
                        writable.selectedKeys().clear();
                        writable.select();
                    }
                }
            };
        }

        @Override
        public void setSoTimeout(int millis) {
            timeoutMillis = millis;
        }

        @Override
        public int getSoTimeout() {
            return timeoutMillis;
        }

        @Override
        public void setTcpNoDelay(boolean on) {}

        @Override
        public void setKeepAlive(boolean on) {}

        @Override
        public int getSendBufferSize() {
            return 8192;
        }

        @Override
        public void close() throws IOException {
            channel.close();
            readable.close();
            writable.close();
        }
    }
}
